"""How many instances each revision should have, and when that changes."""
