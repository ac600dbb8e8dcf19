"""Recommends to any number of users, part by part, on as many machines as there are."""
