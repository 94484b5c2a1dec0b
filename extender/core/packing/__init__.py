"""Packers: ordered nodes and sizes in, slots out. One file a packer."""
