"""Who may ask a service, and what: keys, names of hosts, certificates; standard library only."""
