"""Signals as arrays: names and order of leads, rates and units, conditioning, quality, augmentation, filters.

Arrays go in and come out. Nothing here opens a file or knows a model.
"""
