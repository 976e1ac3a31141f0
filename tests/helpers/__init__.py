"""What several tests share: registries, slow references, peers, and programs that tests start."""
