"""Labels that come back: signed prediction ids, verdicts, and the ledger that counts each label once."""
