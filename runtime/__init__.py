"""Instances: what starts them, tells when they are ready, and stops them."""
