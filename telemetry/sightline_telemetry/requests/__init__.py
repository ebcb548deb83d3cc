"""What a request leaves behind: ids and marks in time, golden signals, logs, and the decision about its trace."""
