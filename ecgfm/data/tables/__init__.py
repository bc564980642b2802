"""Tables made of recordings: splits, labels, manifests, subsets."""
