"""Traffic, recorded or made up, through the product's own code under a clock of its own."""
