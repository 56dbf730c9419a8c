"""asset-service: the inventory as tools (`handlers`), and where names of targets are looked up (`targets`)."""
