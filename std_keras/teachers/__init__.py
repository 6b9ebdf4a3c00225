"""Teachers: any trained classifier, whatever its file format, input range and size."""

from std_keras.teachers.input_size import input_size
from std_keras.teachers.load import load
from std_keras.teachers.spec import TeacherSpec, parse
from std_keras.teachers.teacher import INPUT_RANGES, Teacher

__all__ = ["INPUT_RANGES", "Teacher", "TeacherSpec", "input_size", "load", "parse"]
