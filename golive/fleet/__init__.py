"""Hosts: who they are, how they are reached, how they are made."""
