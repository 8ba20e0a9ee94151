"""The page and the HTTP interface: what people and programs touch."""
