"""Recordings: MCAP files with the messages of the keypoint protocol, the video of their frames, and skeletons to draw.

Needs the extra ``record``; nothing else imports it.
"""
