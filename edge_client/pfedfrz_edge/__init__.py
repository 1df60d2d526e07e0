"""Runs on the board: runtimes, local training, personal state and the session."""
