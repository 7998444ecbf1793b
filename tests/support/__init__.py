"""What several folders of tests share: tiny packs, models of every kind, fakes, cases."""
