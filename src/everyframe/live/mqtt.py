"""Events and states over MQTT, so that Home Assistant finds every camera by itself.

Below `topic`: `status` (online, offline: also by the last will), and for each camera NAME
  NAME/connected   ON, OFF: whether the camera is live                (retained)
  NAME/active      ON, OFF: whether an event lasts                    (retained)
  NAME/event       each event as it begins, JSON, `event_type` is its label
  NAME/last        the newest event that is over, JSON                (retained)
  NAME/snapshot    the picture of the newest event, JPEG              (retained)
Events are those of `live.watch`, in their phases.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from everyframe.errors import UsageError, install_extra
from everyframe.live.config import Mqtt
from everyframe.live.sinks import Sink, Undelivered
from everyframe.version import __version__

#: messages that wait while the broker is away
WAITING = 1000
#: seconds between two tries to reach it
RETRY_S = (1, 30)
#: seconds after which a broker that says nothing is gone
KEEPALIVE_S = 15
_ON, _OFF = "ON", "OFF"


class Broker(Sink):
    """labels: of each camera, what its events may be. Never waits for the broker: what it misses is sent when it is back, and
    what could not be sent at the end is counted. Raises UsageError without the package paho-mqtt.
    """

    wants = ("begin", "snapshot", "over", "end", "state")

    def __init__(self, how: Mqtt, labels: Mapping[str, tuple[str, ...]]) -> None:
        try:
            from paho.mqtt import client
        except ImportError:
            raise UsageError("MQTT needs another package.", where="sinks.mqtt", hint=install_extra("mqtt")) from None
        self.how, self.labels = how, labels
        self._active = {camera: set[str]() for camera in labels}
        self._sent: list[int] = []  # numbers of messages that the broker has not acknowledged yet
        self._acknowledged: set[int] = set()
        self._retained: dict[str, str | bytes] = {}  # a broker that was started again has forgotten it
        self._refused = ""
        self._client = client.Client(client.CallbackAPIVersion.VERSION2, protocol=client.MQTTv311)
        self._client.max_queued_messages_set(WAITING)
        self._client.reconnect_delay_set(*RETRY_S)
        self._client.will_set(self._topic("status"), "offline", qos=1, retain=True)
        if how.user:
            self._client.username_pw_set(how.user, how.password)
        tls = how.tls or how.ca is not None
        if tls:
            try:
                self._client.tls_set(None if how.ca is None else str(how.ca))
            except OSError as error:  # an SSLError is one
                got = error.strerror or str(error)
                raise UsageError(
                    "This is no certificate.", where=how.ca, expected="PEM, of who signed the broker's", got=got
                ) from None
        self._client.on_connect = self._connected
        self._client.on_connect_fail = self._unreached
        self._client.on_publish = lambda _client, _data, number, *_: self._acknowledged.add(number)
        self._client.connect_async(how.host, how.port or (8883 if tls else 1883), KEEPALIVE_S)
        self._client.loop_start()
        super().__init__(f"mqtt {how.host}", WAITING)

    def deliver(self, alert: Mapping[str, Any]) -> None:
        camera, phase = alert["camera"], alert["phase"]
        if phase == "state":
            self._publish(f"{camera}/connected", _ON if alert["state"] == "live" else _OFF, retain=True)
        elif phase == "begin":
            self._active[camera].add(alert["id"])
            self._publish(f"{camera}/active", _ON, retain=True)
            self._publish(f"{camera}/event", json.dumps({"event_type": alert["label"], **alert}))
        elif phase == "snapshot":
            with contextlib.suppress(OSError):
                self._publish(f"{camera}/snapshot", Path(alert["snapshot"]).read_bytes(), retain=True)
        elif phase == "over":
            self._active[camera].discard(alert["id"])
            if not self._active[camera]:
                self._publish(f"{camera}/active", _OFF, retain=True)
        else:
            self._publish(f"{camera}/last", json.dumps(alert), retain=True)

    def end(self) -> None:
        for camera in self.labels:
            self._publish(f"{camera}/connected", _OFF, retain=True)
            self._publish(f"{camera}/active", _OFF, retain=True)
        self._publish("status", "offline", retain=True)
        until = time.monotonic() + 1.0
        while self._settle() and time.monotonic() < until and self._client.is_connected():
            time.sleep(0.02)
        self._count += len(self._sent)
        if self._sent:
            self._failed.append(self._refused or "the broker was not reached")
        self._client.disconnect()
        self._client.loop_stop()

    def _publish(self, topic: str, payload: str | bytes, retain: bool = False) -> None:
        if retain:
            self._retained[topic] = payload
        told = self._client.publish(self._topic(topic), payload, qos=1, retain=retain)
        if told.rc not in (0, 4):  # 4: not connected, so it waits
            raise Undelivered("too many messages wait for the broker")
        self._sent.append(told.mid)
        self._settle()

    def _settle(self) -> list[int]:
        """What the broker has not acknowledged yet."""
        arrived = {number for number in self._sent if number in self._acknowledged}
        self._sent = [number for number in self._sent if number not in arrived]
        self._acknowledged -= arrived
        return self._sent

    def _topic(self, *parts: str) -> str:
        return "/".join((self.how.topic, *parts))

    def _connected(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._refused = f"the broker refused: {reason}"
            return
        client.publish(self._topic("status"), "online", qos=1, retain=True)
        for topic, told in self._discovery():
            client.publish(topic, json.dumps(told), qos=1, retain=True)
        for topic, payload in list(self._retained.items()):
            if topic != "status":
                client.publish(self._topic(topic), payload, qos=1, retain=True)

    def _unreached(self, *_: Any) -> None:
        """Called while the reason is handled, and not told it."""
        self._refused = f"the broker was not reached: {sys.exc_info()[1] or 'unknown why'}"

    def _discovery(self) -> list[tuple[str, dict[str, Any]]]:
        """What Home Assistant asks of a device that wants to be found: a topic and its content, for each entity."""
        if not self.how.discovery:
            return []
        found = []
        for camera, labels in self.labels.items():
            node = _plain(f"{self.how.topic}_{camera}".replace("/", "_"))
            device = {"identifiers": [node], "name": camera, "manufacturer": "everyframe", "sw_version": __version__}
            entities: dict[str, tuple[str, dict[str, Any]]] = {
                "event": ("event", {"event_types": list(labels), "state_topic": "event", "icon": "mdi:gesture"}),
                "active": ("binary_sensor", {"state_topic": "active", "device_class": "motion"}),
                "connected": ("binary_sensor", {"state_topic": "connected", "device_class": "connectivity"}),
                "snapshot": ("image", {"image_topic": "snapshot", "content_type": "image/jpeg"}),
            }
            for name, (kind, told) in entities.items():
                topics = {key: self._topic(camera, value) for key, value in told.items() if key.endswith("_topic")}
                payload = {
                    **told, **topics, "name": name, "unique_id": f"{node}_{name}", "device": device,
                    "availability_topic": self._topic("status"),
                }  # fmt: skip
                found.append((f"{self.how.discovery}/{kind}/{node}/{name}/config", payload))
        return found


def _plain(name: str) -> str:
    """Home Assistant takes no other characters in a topic of discovery, and passes over what has them without a word."""
    return re.sub(r"[^a-zA-Z0-9_-]", lambda found: f"_{ord(found[0]):x}", name)
