"""Training: recipes, the trainer, losses, and what each system minimises."""
