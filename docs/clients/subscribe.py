"""Print the left wrist of each person: a subscriber in ten lines of Python."""

from posestream import Subscriber


def main() -> None:
    with Subscriber("tcp://127.0.0.1:5570") as subscriber:
        for message in subscriber:
            for person in message.people:
                x, y, score = person["left_wrist"]
                print(f"{message.camera} #{person.id} at ({x:.0f}, {y:.0f}) px, score {score:.2f}", flush=True)


if __name__ == "__main__":
    main()
