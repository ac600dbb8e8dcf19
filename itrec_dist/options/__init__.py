"""The options of the verbs that the library has too: one parser each.

The command line parses its words with them, the library its keywords, so that both know the same
names, check the same types and refuse a mistake with the same sentence.
"""
