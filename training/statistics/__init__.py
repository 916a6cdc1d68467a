"""What measurements say of weights: over trials (`trials`), and over patients and draws of one network (`patients`)."""
