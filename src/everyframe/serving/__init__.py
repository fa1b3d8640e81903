"""Models over HTTP: a page, videos that are sent, and streams of frames, on one machine and for those who may.

limits, refusals       what a client may cost, in one table; what is wrong with a request, as JSON
shelf, stepper         the models that are served, exchanged while they run; the one place where steps are done
frames, film, lane     a picture as it was sent, or as one of a coded video; one client's stream, at most two frames behind
uploads                a video that was sent, decoded by a process with limits
cameras                cameras of the server, which it looks at by itself
answers, metrics       what is said, as the API describes it; counters for Prometheus
gate, wire             who may ask what; connections that are too slow or send crumbs
certificate, pages     TLS made on the spot; the page of `bundle --target web`, that sends its frames here
routes, streams, app   the addresses, over HTTP and WebSocket; all of it as one application
server                 from the command's options to the end of the process
"""
