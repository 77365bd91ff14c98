"""Names that the command shares with the controller, whose modules it does not import: they need another extra."""

from injector import app, keeper, webhook
from injector.config import ControllerConfig, InjectionConfig
from meshctl.check import facts


def test_names_are_those_of_the_controller() -> None:
    assert keeper.SECRET == facts.CERTIFICATE_SECRET
    assert keeper.SERVICE == app.LEASE == facts.CONTROLLER
    assert keeper.CONFIGURATION == facts.INJECTOR
    assert keeper.WEBHOOK == facts.WEBHOOK
    assert webhook.PATH == facts.WEBHOOK_PATH
    assert ControllerConfig(injection=InjectionConfig(image="meshctl")).admin.address.port == facts.ADMIN_PORT
