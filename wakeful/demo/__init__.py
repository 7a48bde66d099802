"""Three services that show what wakeful does, and the run that shows them."""
