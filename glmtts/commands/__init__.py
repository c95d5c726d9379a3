"""What the commands of `glmtts` do, one file each; `glmtts.cli` parses and calls them."""
