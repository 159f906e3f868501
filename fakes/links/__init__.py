"""Faulty links between programs: a TCP relay, its toxics, its control."""
