"""Level 2: virtual machines. Their boot image, the files that they are served, and the programs that run them."""
