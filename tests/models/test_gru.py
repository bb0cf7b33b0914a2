from pipeline.models import gru
from tests.models.recurrent import Recurrent


class TestGRU(Recurrent):
    module = gru
    operator = "GRU"
