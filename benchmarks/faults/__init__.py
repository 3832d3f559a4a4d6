"""The fault campaign: random lines, random faults, and what their files hold afterwards.

The elements here are cheap, and what they give is known from camera and number alone.
"""
