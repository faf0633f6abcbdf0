"""`python -m demo`: one real shopping year, one log, three stores, and the proof that they agree."""
