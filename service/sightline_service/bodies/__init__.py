"""Request bodies before they mean anything: how they are packed, how much JSON may be in them, and where it is cut."""
