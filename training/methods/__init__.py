"""The methods of pre-training. `protocol.py` says what one is, with a complete example; each file beside it is one."""
