from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('deployments', '0004_endpoint_keys'),
    ]

    operations = [
        migrations.AddField(
            model_name='endpoint',
            name='sampling',
            field=models.JSONField(default=dict, help_text='modelkit.serving.plan.Sampling, as far as it is set.'),
        ),
        migrations.AlterField(
            model_name='timelineentry',
            name='kind',
            field=models.CharField(
                help_text='create, deploy, live, failed, traffic, rollback, stop, start, limits, placement, sampling',
                max_length=30,
            ),
        ),
    ]
