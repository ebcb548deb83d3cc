"""The servers that Sightline is measured against, each written as its own documentation teaches it."""
