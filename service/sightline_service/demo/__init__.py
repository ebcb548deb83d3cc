"""The demo: real flights out of New York in 2013, a model of their delays, and their replay through the year."""
