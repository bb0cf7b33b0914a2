from pipeline.models import lstm
from tests.models.recurrent import Recurrent


class TestLSTM(Recurrent):
    module = lstm
    operator = "LSTM"
