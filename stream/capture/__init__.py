"""Capture: decoding, damaged files, reading in a thread, and reconnecting to a lost camera.

``decoded_picture`` and ``stills`` handle pixels; ``files``, ``video_file`` and ``playlist`` handle files;
``reader``, ``reconnection`` and ``live_source`` handle live cameras; ``pacing`` and ``timeline`` handle time.
"""
