"""Small tasks whose answer is exact: strings made from a seed, in place of a text."""

from alibi.data.tasks.base import HELD_OUT, IGNORED, Strings, Task, TaskOrder, task_of
from alibi.data.tasks.copy import Copy
from alibi.data.tasks.crasp import Crasp
from alibi.data.tasks.mqar import Mqar
