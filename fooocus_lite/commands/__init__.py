"""What some commands of `fooocus_lite.cli` do; what they find is given back as text, and only `cli` prints."""
