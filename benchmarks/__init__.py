"""Programs that measure wakeful, and hold it against others."""
