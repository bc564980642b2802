"""Stored segments, packed and one by one."""
