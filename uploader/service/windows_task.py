"""Windows: a scheduled task that begins when the user logs on.

A task that merely restarts on failure is not restarted after every way to end, so the trigger is repeated as well:
each time it does nothing while the worker runs. Ending the task ends the process at once; the spool survives that.

Source: the Task Scheduler schema, https://learn.microsoft.com/windows/win32/taskschd/task-scheduler-schema.
"""

import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

from uploader.service import DESCRIPTION, NAME, Command, Service, WorkerCall

_SPACE = "http://schemas.microsoft.com/windows/2004/02/mit/task"
_SETTINGS = {
    "MultipleInstancesPolicy": "IgnoreNew",
    "DisallowStartIfOnBatteries": "false",
    "StopIfGoingOnBatteries": "false",
    "AllowHardTerminate": "true",
    "StartWhenAvailable": "true",
    "RunOnlyIfNetworkAvailable": "false",
    "AllowStartOnDemand": "true",
    "Enabled": "true",
    "Hidden": "true",
    "RunOnlyIfIdle": "false",
    "WakeToRun": "false",
    "ExecutionTimeLimit": "PT0S",  # none
    "Priority": "5",  # as usual; a task's own default is to wait for everybody else's disk
}
_RESTARTS_MAX = 255


def windows_service(call: WorkerCall, *, folder: Path, user: str) -> Service:
    """The task; ``call`` has a log file, because nobody sees a console.

    Args:
        call: of the worker.
        folder: the user's own, where the task's description is kept.
        user: who it runs as.
    """
    assert call.log_file is not None
    path = folder / "service.xml"
    state = f"(Get-ScheduledTask -TaskName {NAME} -TaskPath '\\').State"
    return Service(
        kind="scheduled task",
        path=path,
        text=_task(call, user),
        encoding="utf-16",  # schtasks takes no other
        starts=(
            _schtasks("/End", may_fail=True),
            Command(argv=("schtasks", "/Create", "/TN", NAME, "/XML", str(path), "/F")),
            _schtasks("/Run"),
        ),
        stops=(_schtasks("/End", may_fail=True), _schtasks("/Delete", "/F")),
        # schtasks speaks the system's language, this does not.
        asks=Command(argv=("powershell", "-NoProfile", "-NonInteractive", "-Command", state), may_fail=True),
        running="Running",
        remarks=(
            "The API key is not in the task. It comes from your own environment variables: AS_API_KEY.",
            "It runs while you are logged on; a task for the time before that is an administrator's to make.",
            f"What it says: {call.log_file}",
        ),
    )


def _schtasks(verb: str, *words: str, may_fail: bool = False) -> Command:
    return Command(argv=("schtasks", verb, "/TN", NAME, *words), may_fail=may_fail)


def _task(call: WorkerCall, user: str) -> str:
    task = ET.Element("Task", {"version": "1.2", "xmlns": _SPACE})
    about = _under(task, "RegistrationInfo")
    _under(about, "Description", DESCRIPTION)
    trigger = _under(_under(task, "Triggers"), "LogonTrigger")
    repetition = _under(trigger, "Repetition")
    _under(repetition, "Interval", "PT5M")
    _under(repetition, "StopAtDurationEnd", "false")
    _under(trigger, "Enabled", "true")
    _under(trigger, "UserId", user)
    who = _under(_under(task, "Principals"), "Principal", id="Author")
    _under(who, "UserId", user)
    _under(who, "LogonType", "InteractiveToken")
    _under(who, "RunLevel", "LeastPrivilege")
    settings = _under(task, "Settings")
    for name, worth in _SETTINGS.items():
        _under(settings, name, worth)
    restart = _under(settings, "RestartOnFailure")
    _under(restart, "Interval", "PT1M")
    _under(restart, "Count", str(_RESTARTS_MAX))
    action = _under(_under(task, "Actions", Context="Author"), "Exec")
    _under(action, "Command", str(call.program))
    _under(action, "Arguments", subprocess.list2cmdline(call.arguments))
    ET.indent(task)
    return f'<?xml version="1.0" encoding="UTF-16"?>\n{ET.tostring(task, encoding="unicode")}\n'


def _under(parent: ET.Element, tag: str, text: str = "", **attributes: str) -> ET.Element:
    child = ET.SubElement(parent, tag, attributes)
    child.text = text or None
    return child
