# SPDX-License-Identifier: Apache-2.0
"""Stands in for a camera's driver: a gray image 20 times a second on image_raw."""

import contextlib

import rclpy
from rclpy.executors import ExternalShutdownException
from sensor_msgs.msg import Image
from smolvla_core.ros import qos


def main() -> None:
    rclpy.init()
    node = rclpy.create_node("camera")
    publisher = node.create_publisher(Image, "image_raw", qos.image_qos())

    def publish() -> None:
        image = Image(height=96, width=96, encoding="rgb8", step=288, data=bytes([90]) * 27648)
        image.header.stamp = node.get_clock().now().to_msg()
        publisher.publish(image)

    node.create_timer(0.05, publish)
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(node)


if __name__ == "__main__":
    main()
