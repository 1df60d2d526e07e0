"""A fleet of real processes that is killed again and again, and what must hold afterwards."""
