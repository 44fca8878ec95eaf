"""Files of steering vectors, of the lab and of other tools: what they hold, and for which layer."""
