"""Training: losses, and what each system minimises."""
