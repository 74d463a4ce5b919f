"""Long trials: files from strangers, faults and damage, with counts that are kept."""
