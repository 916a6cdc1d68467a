"""Fine-tuning on target tasks. A target becomes a prepared task, an initialisation a network; a trial trains and scores
it: one for `finetune`, many for the grid of `benchmark`."""
