"""A site of RTSP cameras while cameras come and go, a broker dies, viewers hang and Prometheus scrapes."""
