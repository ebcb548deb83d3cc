"""Labels of earlier predictions: signed prediction ids, verdicts, and the ledger that counts each label once."""
