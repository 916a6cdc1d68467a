"""Makes the weights of sg_hub: prepare, autoencode, discover, pre-train, publish. Read README.md here first."""
