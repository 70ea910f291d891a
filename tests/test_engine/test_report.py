import pytest

pytest.importorskip('mmdet')

from tinyvim_mm.toolboxes import mmdet
from tinyvim_mm.training.report import first_and_last_loss, score_lines, starting_weights


def scores(box, mask):
    return {
        'photographs': 24,
        'coco/bbox_mAP': box,
        'coco/bbox_mAP_50': 2 * box,
        'coco/segm_mAP': mask,
        'coco/segm_mAP_50': 2 * mask,
    }


def test_scores_are_percent_and_say_which_photographs():
    lines = score_lines(
        mmdet, {mmdet.SEEN.split: scores(0.123, 0.1), mmdet.UNSEEN.split: scores(0.0, 0.001)}
    )
    assert lines == [
        '24 photographs the network was trained on (train2017): '
        'box AP 12.3, box AP50 24.6, mask AP 10.0, mask AP50 20.0',
        '24 photographs the network has not seen (val2017): '
        'box AP 0.0, box AP50 0.0, mask AP 0.1, mask AP50 0.2',
    ]


def test_no_prediction_is_no_score():
    lines = score_lines(
        mmdet, {mmdet.SEEN.split: scores(0.1, 0.1), mmdet.UNSEEN.split: {'photographs': 24}}
    )
    assert 'box AP none, box AP50 none, mask AP none' in lines[1]
    assert lines[1].endswith('(none: the network predicted no object at all)')


def test_a_detector_without_masks_has_no_mask_score():
    boxes = {'coco/bbox_mAP': 0.1, 'coco/bbox_mAP_50': 0.2}
    assert mmdet.score_line(boxes) == 'box AP 10.0, box AP50 20.0'


def test_first_and_last_loss():
    records = [{'loss': float(value)} for value in range(20, 0, -1)]
    assert first_and_last_loss(records) == (19.5, 1.5)
    assert first_and_last_loss(records[:3]) == (20.0, 18.0)


@pytest.mark.parametrize(
    ('init_cfg', 'words'),
    [
        (None, 'random weights'),
        (dict(type='Pretrained', checkpoint='x'), 'pretrained weights'),
        (dict(type='Kaiming'), 'random weights'),
    ],
)
def test_starting_weights(init_cfg, words):
    assert starting_weights({'model': {'backbone': {'init_cfg': init_cfg}}}) == words


def test_photographs_with_the_largest_objects_come_first():
    class Data:
        sides = [10, 50, 30, 0]

        def __len__(self):
            return len(self.sides)

        def get_data_info(self, index):
            side = self.sides[index]
            ignored = dict(bbox=[0, 0, 99, 99], ignore_flag=1)
            box = dict(bbox=[1, 1, 1 + side, 1 + side], ignore_flag=0)
            return dict(width=100, height=100, instances=[ignored, box] if side else [])

    assert mmdet.pick_photographs(Data(), 3) == [1, 2, 0]
