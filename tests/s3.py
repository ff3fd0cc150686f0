"""An S3 server on loopback: moto's."""

from moto.server import DomainDispatcherApplication, create_backend_app

from tests.serving import Server

BUCKET = "karma"


def s3() -> Server:
    """The server, with the environment that a client needs."""
    environment = {
        "AWS_ENDPOINT_URL": "{address}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "s3cret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    return Server(DomainDispatcherApplication(create_backend_app), environment)
